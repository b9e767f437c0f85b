"""What an imported model does, shown on a text with gaps."""

PROMPTS = (
    "The <extra_id_0> walks in <extra_id_1> park.",
    "Paris is the <extra_id_0> of France, and <extra_id_1> is that of Spain.",
)
HOW_TO_PROMPT = """\
Checkpoints that were only pre-trained fill in gaps: mark them by <extra_id_0>,
<extra_id_1>, ... in the input; the answer repeats each mark and what belongs there.
They do not chat, follow instructions or go on with a text before fine-tuning."""


_LENGTH = 64  # of the prompts, in any vocabulary of words


def demonstration(model, max_length: int = 24) -> str:
    """Returns what a model puts into gaps, and how to prompt it.

    Args:
        model: `SwitchSeq2SeqLM`.
        max_length: tokens of an answer.
    """
    lines = ["A look at the model", "", HOW_TO_PROMPT, ""]
    tokenizer = getattr(model.preprocessor, "tokenizer", None)
    if tokenizer is None:
        lines.append(
            "It came without a vocabulary, so that nothing can be shown: give its "
            "SentencePiece model (--vocabulary=...), or token ids to generate()."
        )
    elif not tokenizer.num_sentinels:
        lines.append("Its vocabulary has no <extra_id_...>, so no gaps can be shown.")
    else:
        answers = _answers(model, tokenizer, max_length)
        for prompt, answer in zip(PROMPTS, answers, strict=True):
            lines += [f"  input   {prompt}", f"  output  {answer}", ""]
    return "\n".join(lines).rstrip()


def _answers(model, tokenizer, max_length):
    """Returns what the likeliest tokens make of the prompts."""
    own, compiled = model.preprocessor, model.jit_compile
    model.preprocessor = type(own)(tokenizer, _LENGTH, max_length)
    model.jit_compile = False  # to compile would take longer than two answers
    try:
        prompts = list(PROMPTS)
        return model.generate(prompts, max_length=max_length, sampler="greedy")
    finally:
        model.preprocessor, model.jit_compile = own, compiled
