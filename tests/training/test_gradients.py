import numpy as np
import tensorflow as tf

from keras_switch.training.gradients import as_float32, clip_by_norm


def test_gradients_longer_than_the_limit_are_cut_to_it_and_others_left():
    gradient = tf.constant([3.0, 4.0])
    (cut,) = clip_by_norm([gradient], tf.constant(5.0), 1.0)
    np.testing.assert_allclose(cut, [0.6, 0.8], rtol=1e-6)
    (kept,) = clip_by_norm([gradient], tf.constant(5.0), 6.0)
    np.testing.assert_array_equal(kept, gradient)


def test_infinite_gradients_are_left_for_others_to_find():
    gradient = tf.constant([np.inf, 1.0])
    (kept,) = clip_by_norm([gradient], tf.constant(np.inf), 1.0)
    np.testing.assert_array_equal(kept, gradient)


def test_rows_of_an_embedding_and_missing_gradients_become_dense_float32():
    rows = tf.IndexedSlices(
        tf.ones((3, 2), "bfloat16"), tf.constant([0, 2, 2]), tf.constant([4, 2])
    )
    variables = [tf.Variable(tf.zeros((4, 2))), tf.Variable(tf.zeros(3))]
    table, missing = as_float32([rows, None], variables)
    np.testing.assert_array_equal(table, [[1, 1], [0, 0], [2, 2], [0, 0]])
    np.testing.assert_array_equal(missing, np.zeros(3))
    assert table.dtype == missing.dtype == tf.float32
