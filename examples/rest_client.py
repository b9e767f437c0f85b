"""Asks a served model by REST; needs Python alone.

python examples/rest_client.py "A <extra_id_0> walks into a bar."

The same for `keras-switch serve` and for TF Serving.
"""

import argparse
import json
import urllib.error
import urllib.request


def main(argv=None):
    """Prints the answer to each text, and its score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--url", default="http://localhost:8501/v1/models/switch")
    args = parser.parse_args(argv)
    for answer in predict(args.url, args.texts):
        print(f"{answer['scores']:.3f}\t{answer['outputs']}")


def predict(url, instances, signature="serving_default"):
    """Returns a list of predictions.

    Args:
        url: of the model.
        instances: list of texts; of a signature with several inputs, of dictionaries.
        signature: its name.

    Raises:
        ValueError: with the server's reason.
    """
    body = json.dumps({"signature_name": signature, "instances": instances}).encode()
    request = urllib.request.Request(
        f"{url}:predict", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["predictions"]
    except urllib.error.HTTPError as error:
        with error:
            raise ValueError(json.load(error)["error"]) from error


if __name__ == "__main__":
    main()
