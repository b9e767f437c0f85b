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
