"""Save the DataFrame model for MLServer's own sklearn runtime: `python mlserver_model.py FILE`."""

import sys

import joblib
from served import model

if __name__ == "__main__":
    joblib.dump(model, sys.argv[1])
