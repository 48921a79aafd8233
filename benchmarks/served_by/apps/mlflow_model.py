"""Save the DataFrame model as MLflow does: `python mlflow_model.py FOLDER`."""

import sys

import mlflow
from served import X, model

if __name__ == "__main__":
    mlflow.sklearn.save_model(model, sys.argv[1], input_example=X)
