"""Tasks: fit, presets, tokenizer and preprocessors."""

import dataclasses
import io

import helpers_models as helpers
import keras
import numpy as np
import pytest

from keras_switch import models

TEXT = ["the quick brown fox jumps over the lazy dog", "a lazy dog sleeps all day long"]


@pytest.fixture(scope="session")
def proto():
    """Returns a SentencePiece model with T5's numbers, without sentinels."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 20),
        model_writer=model,
        vocab_size=60,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    return model.getvalue()


@pytest.fixture
def tokenizer(proto):
    return models.SwitchTokenizer(proto, num_sentinels=5)


def language_model(tokenizer, **changes):
    size = -(-tokenizer.vocabulary_size() // 8) * 8
    config = helpers.tiny(vocab_size=size, num_sentinels=5, **changes)
    return models.SwitchSeq2SeqLM(
        models.SwitchBackbone(config),
        models.SwitchSeq2SeqLMPreprocessor(tokenizer, 12, 8),
    )


def test_sentinels_count_down_from_the_last_id(tokenizer, proto):
    size = tokenizer.vocabulary_size()
    assert size == models.SwitchTokenizer(proto).vocabulary_size() + 5
    assert tokenizer.num_sentinels == 5
    ids = tokenizer("the <extra_id_0> fox <extra_id_4> dog")
    assert tokenizer.sentinel_id(0) == size - 1 in ids
    assert tokenizer.sentinel_id(4) == size - 5 in ids
    assert tokenizer.detokenize(tokenizer(TEXT[0])) == TEXT[0]
    with pytest.raises(ValueError, match=r"no <extra_id_5>.*has 5 sentinels"):
        tokenizer.sentinel_id(5)


def test_a_vocabulary_that_numbers_otherwise_is_refused():
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 20),
        model_writer=model,
        vocab_size=50,
        pad_id=3,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(ValueError, match=r"at ids 0, 1 and 2.*pad_id=0"):
        models.SwitchTokenizer(model.getvalue())


def test_ids_without_a_piece_are_unknown_ones(tokenizer):
    import tensorflow as tf

    fox, last = tokenizer("the fox"), tokenizer.vocabulary_size()
    ids = [*(int(i) for i in fox), last, last + 20]
    wanted = tokenizer.detokenize([*ids[:-2], 2, 2])
    for form in (ids, np.array(ids), tf.constant(ids), tuple(ids)):
        assert tokenizer.detokenize(form) == wanted
    assert tokenizer.detokenize([ids, ids[:2]])[0] == wanted
    ragged = tf.ragged.constant([ids, ids[:2]])
    assert tokenizer.detokenize(ragged)[0] == wanted


def test_a_pair_of_texts_becomes_t5s_inputs_and_targets(tokenizer):
    preprocessor = models.SwitchSeq2SeqLMPreprocessor(tokenizer, 12, 8)
    x, y, weights = preprocessor(
        {"encoder_text": ["a lazy dog"], "decoder_text": ["the fox"]}
    )
    inputs, targets = list(tokenizer("a lazy dog")), list(tokenizer("the fox"))

    def padded(ids, length):
        return [(ids + [0] * length)[:length]]

    np.testing.assert_array_equal(x["encoder_token_ids"], padded([*inputs, 1], 12))
    np.testing.assert_array_equal(x["decoder_token_ids"], padded([0, *targets, 1], 8))
    np.testing.assert_array_equal(y, padded([*targets, 1], 8))
    np.testing.assert_array_equal(weights, np.arange(8)[None] < len(targets) + 1)
    x, y, _ = models.SwitchCausalLMPreprocessor(tokenizer, 8)(["the fox"])
    np.testing.assert_array_equal(x["token_ids"], padded([0, *targets, 1], 8))
    np.testing.assert_array_equal(y, padded([*targets, 1], 8))


def test_text_goes_in_and_comes_out(tokenizer):
    model = language_model(tokenizer)
    texts = {"encoder_text": TEXT, "decoder_text": ["the fox", "a dog"]}
    history = model.fit(texts, batch_size=2, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"][0])
    assert {"encoder_1_dropped", "decoder_1_max_load"} <= set(history)
    model.compile(sampler="greedy")
    found = model.generate(TEXT, max_length=6)
    assert len(found) == 2
    assert all(isinstance(text, str) for text in found)


def test_the_loss_is_the_mean_over_real_tokens_plus_the_routers():
    config = helpers.tiny()
    model = models.SwitchSeq2SeqLM(models.SwitchBackbone(config))
    batch = helpers.inputs(config)
    targets = batch["decoder_token_ids"]
    weights = (np.arange(8) < [[8], [3]]).astype("float32")
    expected = helpers.cross_entropy(model(batch), targets, weights) / weights.sum()
    found = model.evaluate(batch, targets, sample_weight=weights, verbose=0)
    np.testing.assert_allclose(found[0], float(expected), rtol=1e-5)


def test_plain_fit_learns(tmp_path):
    config = helpers.tiny(architecture="decoder-only")
    model = models.SwitchCausalLM(models.SwitchBackbone(config))
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    batch = helpers.inputs(config)
    history = model.fit(
        batch,
        np.roll(batch["token_ids"], -1, 1),
        sample_weight=np.ones((2, 12), "float32"),
        epochs=8,
        verbose=0,
    ).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]


def prefix_language_model(tokenizer):
    size = -(-tokenizer.vocabulary_size() // 8) * 8
    config = helpers.tiny(
        vocab_size=size, architecture="decoder-only", prefix_lm=True, num_layers=2
    )
    return models.SwitchCausalLM(
        models.SwitchBackbone(config),
        models.SwitchPrefixLMPreprocessor(tokenizer, 10),
    )


def test_a_prompt_is_a_prefix_and_its_response_counts(tokenizer):
    prompts, responses = ["a lazy", "a", "the fox"], ["dog", "lazy dog", ""]
    p, r = tokenizer(prompts), tokenizer(responses)
    p, r = [list(map(int, ids)) for ids in p], [list(map(int, ids)) for ids in r]
    length = max(len(a) + len(b) for a, b in zip(p, r, strict=True)) + 3
    preprocessor = models.SwitchPrefixLMPreprocessor(tokenizer, length)
    texts = {"prompts": prompts, "responses": responses}
    x, y, weights = preprocessor(texts)
    for row, (a, b) in enumerate(zip(p, r, strict=True)):
        room = [0] * (length - len(a) - len(b) - 2)
        ids = [0, *a, *b, 1, *room]
        prefix = [1] * (1 + len(a)) + [0] * (length - 1 - len(a))
        real = [1] * (len(a) + len(b) + 2) + room
        counts = [0] * len(a) + [1] * (len(b) + 1) + [0, *room]
        np.testing.assert_array_equal(x["token_ids"][row], ids)
        np.testing.assert_array_equal(x["prefix_mask"][row], prefix)
        np.testing.assert_array_equal(x["padding_mask"][row], real)
        np.testing.assert_array_equal(y[row], [*ids[1:], 0])
        np.testing.assert_array_equal(weights[row], counts)
    one = {"prompts": prompts[0], "responses": responses[0]}
    np.testing.assert_array_equal(
        preprocessor(one)[0]["prefix_mask"], x["prefix_mask"][0]
    )


def test_a_pair_that_is_too_long_is_cut_and_still_ends(tokenizer):
    p = [int(i) for i in tokenizer(TEXT[0])]
    texts = {"prompts": [TEXT[0]], "responses": [TEXT[0]]}
    x, y, weights = models.SwitchPrefixLMPreprocessor(tokenizer, 7)(texts)
    np.testing.assert_array_equal(x["token_ids"], [[0, *p[:3], *p[:3]]])
    np.testing.assert_array_equal(x["prefix_mask"], [[1, 1, 1, 1, 0, 0, 0]])
    np.testing.assert_array_equal(x["padding_mask"], np.ones((1, 7)))
    np.testing.assert_array_equal(y, [[*p[:3], *p[:3], 1]])
    np.testing.assert_array_equal(weights, [[0, 0, 0, 1, 1, 1, 1]])


def test_a_prefix_language_model_learns_from_text_and_goes_on(tokenizer, tmp_path):
    model = prefix_language_model(tokenizer)
    model.compile(optimizer=keras.optimizers.Adam(0.01), sampler="greedy")
    texts = {"prompts": TEXT, "responses": ["the fox", "a dog"]}
    history = model.fit(texts, batch_size=2, epochs=12, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    # Text and hand-made ids go on alike: the prompt is the prefix.
    given = model.preprocessor.generate_preprocess(TEXT, sequence_length=10)
    with_ids = models.SwitchCausalLM(model.backbone)
    with_ids.compile(sampler="greedy")
    ids = with_ids.generate(dict(given), stop_token_ids=(1,))
    texts = model.generate(TEXT, max_length=10)
    assert texts == model.preprocessor.generate_postprocess(ids)
    model.save_to_preset(tmp_path / "mine")
    again = models.SwitchCausalLM.from_preset(tmp_path / "mine")
    assert type(again.preprocessor) is models.SwitchPrefixLMPreprocessor
    assert again.preprocessor.sequence_length == 10


@pytest.mark.parametrize(
    ("prefix_lm", "preprocessor", "message"),
    [
        (True, "SwitchCausalLMPreprocessor", "prefix_lm=True.*SwitchPrefixLMPre"),
        (False, "SwitchPrefixLMPreprocessor", "prefix_lm=False.*SwitchCausalLMPre"),
    ],
)
def test_a_preprocessor_of_the_other_kind_is_refused(
    tokenizer, prefix_lm, preprocessor, message
):
    config = helpers.tiny(architecture="decoder-only", prefix_lm=prefix_lm)
    preprocessor = getattr(models, preprocessor)(tokenizer, 10)
    with pytest.raises(ValueError, match=message):
        models.SwitchCausalLM(models.SwitchBackbone(config), preprocessor)


@pytest.mark.parametrize("x", [["a dog"], {"prompts": ["a dog"]}])
def test_text_without_a_response_is_refused(tokenizer, x):
    preprocessor = models.SwitchPrefixLMPreprocessor(tokenizer, 10)
    with pytest.raises(ValueError, match=r'give {"prompts": \.\.\., "resp'):
        preprocessor(x)


def test_a_saved_folder_gives_the_same_model_bit_by_bit(tokenizer, tmp_path):
    model = language_model(tokenizer)
    model.save_to_preset(tmp_path / "mine")
    again = models.SwitchSeq2SeqLM.from_preset(tmp_path / "mine")
    assert again.backbone.config == model.backbone.config
    for ours, theirs in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert again.preprocessor.encoder_sequence_length == 12
    assert again.preprocessor.decoder_sequence_length == 8
    assert again.preprocessor.tokenizer.num_sentinels == 5
    batch = helpers.inputs(model.backbone.config)
    np.testing.assert_array_equal(model(batch), again(batch))
    fresh = models.SwitchBackbone.from_preset(tmp_path / "mine", load_weights=False)
    assert np.abs(np.asarray(fresh.weights[0]) - model.weights[0]).max() > 0


def test_a_built_in_name_gives_fresh_weights_in_the_dtype_asked_for():
    model = models.SwitchSeq2SeqLM.from_preset("t5_tiny", dtype="mixed_bfloat16")
    assert model.backbone.config == models.preset("t5_tiny").config
    logits = model.compute_output_spec(model.input)
    assert logits.dtype == "float32"
    backbone = models.SwitchBackbone.from_preset("switch_lm_tiny", load_weights=False)
    assert backbone.count_params() == models.preset("switch_lm_tiny").parameters
    assert "switch_c" in models.SwitchBackbone.presets


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: models.SwitchBackbone.from_preset("t5_tiny", load_weights=True),
            "config without weights.*load_weights out",
        ),
        (
            lambda: models.SwitchBackbone.from_preset("switch_tinny"),
            "no preset 'switch_tinny'.*'switch_tiny'",
        ),
        (
            lambda: models.SwitchCausalLM.from_preset("t5_tiny"),
            "needs a backbone of architecture 'decoder-only'.*'encoder-decoder'",
        ),
    ],
)
def test_a_preset_that_cannot_be_had_is_told_why(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_tokenizer_larger_than_the_token_table_is_refused(tokenizer):
    backbone = models.SwitchBackbone(helpers.tiny(vocab_size=16))
    preprocessor = models.SwitchSeq2SeqLMPreprocessor(tokenizer, 12, 8)
    with pytest.raises(ValueError, match=r"has only 16 rows.*vocab_size of 128"):
        models.SwitchSeq2SeqLM(backbone, preprocessor)


def test_weights_of_another_config_are_refused(tmp_path):
    config = helpers.tiny()
    models.SwitchBackbone(config).save_weights(tmp_path / "w.weights.h5")
    for changes in ({"d_ff": 32}, {"num_layers": 3}, {"sparse": None}):
        other = models.SwitchBackbone(dataclasses.replace(config, **changes))
        with pytest.raises(ValueError, match=r"another config.*ModelConfig"):
            other.load_weights(tmp_path / "w.weights.h5")


def test_a_task_survives_a_keras_file(tmp_path):
    config = helpers.tiny(architecture="decoder-only", num_layers=2)
    model = models.SwitchCausalLM(models.SwitchBackbone(config))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    batch = helpers.inputs(config)
    np.testing.assert_array_equal(model(batch), again(batch))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16"])
def test_logits_are_float32_under_every_policy(dtype):
    config = helpers.tiny()
    model = models.SwitchSeq2SeqLM(models.SwitchBackbone(config, dtype=dtype))
    logits = model(helpers.inputs(config))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    # Not float32 by a cast from bfloat16, whose numbers end in 16 zero bits.
    bits = np.asarray(logits).view("uint32")
    assert (bits & 0xFFFF).any()
