import numpy as np
import pytest

from keras_switch.layers import attention_mask, causal_mask

SEGMENTS = np.array([[1, 1, 2, 2, 0], [1, 1, 1, 1, 1]])


def expected(rule):
    mask = np.zeros((2, 1, 5, 5), bool)
    for row, query, key in np.ndindex(2, 5, 5):
        mask[row, 0, query, key] = rule(row, query, key)
    return mask


def together(row, query, key):
    return SEGMENTS[row, query] == SEGMENTS[row, key] != 0


@pytest.mark.parity
def test_tokens_see_their_own_example_and_no_padding():
    np.testing.assert_array_equal(
        attention_mask(SEGMENTS, SEGMENTS), expected(together)
    )


@pytest.mark.parity
def test_a_causal_token_sees_nothing_after_itself():
    np.testing.assert_array_equal(
        attention_mask(SEGMENTS, SEGMENTS, causal=True),
        expected(lambda b, q, k: together(b, q, k) and q >= k),
    )


@pytest.mark.parity
def test_tokens_of_a_prefix_see_each_other():
    prefix = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0]], bool)
    np.testing.assert_array_equal(
        attention_mask(SEGMENTS, SEGMENTS, causal=True, prefix=prefix),
        expected(
            lambda b, q, k: (
                together(b, q, k) and (q >= k or (prefix[b, q] and prefix[b, k]))
            )
        ),
    )


@pytest.mark.parity
def test_without_query_segments_all_real_keys_are_seen():
    mask = attention_mask(None, SEGMENTS)
    np.testing.assert_array_equal(np.array(mask)[:, 0, 0], SEGMENTS > 0)


@pytest.mark.parity
def test_later_queries_have_the_rows_they_have_in_the_whole_mask():
    prefix = np.array([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], bool)
    whole = np.array(causal_mask(np.arange(5), np.arange(5), prefix))
    late = np.array(causal_mask(np.array([1, 2]), np.arange(5), prefix))
    np.testing.assert_array_equal(late, whole[:, :, 1:3])


def test_masks_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"key_segments has shape \(2, 1, 5\)"):
        attention_mask(SEGMENTS, SEGMENTS[:, None])
    with pytest.raises(ValueError, match=r"prefix was given without causal=True"):
        attention_mask(SEGMENTS, SEGMENTS, prefix=SEGMENTS > 0)
    with pytest.raises(ValueError, match=r"5 queries and 3 keys"):
        attention_mask(SEGMENTS, SEGMENTS[:, :3], causal=True)
