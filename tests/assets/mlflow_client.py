"""What a client of MLflow reads after it has done what training scripts do, one line of JSON. Argument: the server.

The same program runs against a stock server and against Milepost.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType

warnings.filterwarnings("ignore")
mlflow.set_tracking_uri(sys.argv[1])
client = MlflowClient()
answers: dict[str, Any] = {}
mark = f"client {time.time_ns()}"
home = mlflow.set_experiment(mark).experiment_id


def told(run_id: str, *, values: bool = True) -> list[Any]:
    """What is told of a run: status, parameters, tags of its own, and metrics with or without their values."""
    run = client.get_run(run_id)
    own = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    metrics: Any = dict(sorted(run.data.metrics.items())) if values else sorted(run.data.metrics)
    return [run.info.status, run.info.lifecycle_stage, dict(sorted(run.data.params.items())), own, metrics]


def fluent() -> None:
    with mlflow.start_run(run_name="fluent", tags={"team": "nlp"}, description="a run") as run:
        mlflow.log_params({"lr": 0.1, "layers": [1, 2], "name": None, "long": "x" * 7_000})
        mlflow.log_metrics({"a": 1.0, "b": 2.0}, step=3)
        for step in range(5):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.set_tags({"one": 1, "two": 2})
        mlflow.log_metric("without a step", 1.0)
        mlflow.log_metric("without a step", 2.0)
        with mlflow.start_run(run_name="child", nested=True) as child:
            mlflow.log_metric("loss", 0.5)
    answers["fluent"] = told(run.info.run_id)
    answers["name"] = client.get_run(run.info.run_id).info.run_name
    answers["child"] = [
        told(child.info.run_id),
        mlflow.get_parent_run(child.info.run_id).info.run_id == run.info.run_id,
    ]
    answers["history"] = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")]
    answers["last run"] = mlflow.last_active_run().info.run_name


def ends() -> None:
    try:
        with mlflow.start_run(run_name="raises") as failed:
            mlflow.log_metric("x", 1.0)
            raise RuntimeError("no more data")
    except RuntimeError:
        answers["raises"] = told(failed.info.run_id)
    with mlflow.start_run(run_name="fit then test") as run:
        for step in range(10):
            mlflow.log_metric("loss", 1.0 - step / 10, step=step)
    with mlflow.start_run(run_id=run.info.run_id):
        answers["goes on"] = client.get_run(run.info.run_id).info.status
        mlflow.log_metric("test/accuracy", 0.9, step=0)
        mlflow.log_param("tested", True)
    client.set_tag(run.info.run_id, "best", "yes")
    client.log_metric(run.info.run_id, "late", 3.0)
    answers["fit then test"] = told(run.info.run_id)
    answers["all of it"] = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")]


def clients() -> None:
    run_id = client.create_run(home, run_name="by client", start_time=1_700_000_000_000).info.run_id
    now = 1_700_000_000_500
    client.log_batch(
        run_id, [Metric("m", math.nan, now, 0), Metric("n", 2.0, now, 1)], [Param("p", "1")], [RunTag("t", "x")]
    )
    client.update_run(run_id, name="renamed")
    client.delete_tag(run_id, "t")
    client.set_terminated(run_id, "KILLED", end_time=now)
    run = client.get_run(run_id)
    answers["by client"] = [
        run.info.status, run.info.run_name, run.info.start_time, run.info.end_time, sorted(run.data.metrics),
        math.isnan(run.data.metrics["m"]), run.data.params, "t" in run.data.tags,
    ]  # fmt: skip
    client.delete_run(run_id)
    answers["deleted"] = client.get_run(run_id).info.lifecycle_stage
    client.restore_run(run_id)
    answers["restored"] = client.get_run(run_id).info.lifecycle_stage
    for name, call in {
        "unknown run": lambda: client.get_run("0" * 32),
        "changed parameter": lambda: client.log_param(run_id, "p", "2"),
        "unknown experiment": lambda: client.get_experiment("123456789"),
        "experiment that exists": lambda: client.create_experiment(mark),
        "bad filter": lambda: client.search_runs([home], "loss ~ 3"),
    }.items():
        try:
            answers[name] = repr(call())
        except mlflow.MlflowException as error:
            answers[name] = error.error_code


def searches() -> None:
    other = client.create_experiment(f"{mark} searches", tags={"kind": "sweep"})
    for index in range(25):
        run_id = client.create_run(other, run_name=f"run {index:02}", start_time=1_700_000_000_000 + index).info.run_id
        client.log_batch(run_id, [Metric("loss", (index * 7) % 25 / 25, 1, 0)], [Param("n", str(index))])
        client.set_terminated(run_id)

    def names(**given: Any) -> list[str]:
        return [run.info.run_name for run in client.search_runs([other], **given)]

    answers["all"] = names()
    answers["by loss"] = names(order_by=["metrics.loss ASC"], max_results=5)
    answers["filtered"] = names(filter_string="metrics.loss < 0.2 and params.n != '0'", order_by=["params.n"])
    page = client.search_runs([other], max_results=10)
    pages = [len(page)]
    while page.token:
        page = client.search_runs([other], max_results=10, page_token=page.token)
        pages.append(len(page))
    answers["pages"] = pages
    frame = mlflow.search_runs([other], filter_string="params.n = '3'")
    answers["frame"] = [list(frame["metrics.loss"]), list(frame["status"]), list(frame["tags.mlflow.runName"])]
    client.rename_experiment(other, f"{mark} renamed")
    found = client.search_experiments(filter_string=f"name LIKE '{mark}%' AND tags.kind = 'sweep'")
    answers["experiments"] = [one.name.removeprefix(mark) for one in found]
    client.delete_experiment(other)
    answers["deleted experiment"] = [
        client.get_experiment(other).lifecycle_stage, len(client.search_runs([other])),
        len(client.search_runs([other], run_view_type=ViewType.DELETED_ONLY)),
    ]  # fmt: skip
    client.restore_experiment(other)
    answers["restored experiment"] = [client.get_experiment(other).lifecycle_stage, len(client.search_runs([other]))]


def scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    mlflow.sklearn.autolog()
    x = np.random.RandomState(0).rand(60, 3)
    y = (x.sum(1) > 1.5).astype(int)
    with mlflow.start_run(run_name="grid") as run:
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(x, y)
    answers["grid"] = told(run.info.run_id, values=False)
    children = client.search_runs([home], f"tags.mlflow.parentRunId = '{run.info.run_id}'", order_by=["params.C"])
    answers["children"] = [
        [child.data.params["C"], child.info.status, sorted(child.data.metrics)] for child in children
    ]
    mlflow.sklearn.autolog(disable=True)


def lightning() -> None:
    import pytorch_lightning as pl
    import torch

    class Linear(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            loss = self.layer(batch[0]).square().mean()
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    torch.manual_seed(0)
    mlflow.pytorch.autolog()
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(16, 4)), batch_size=4)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    with mlflow.start_run(run_name="lightning") as run:
        pl.Trainer(max_epochs=2, default_root_dir="saved", **quiet).fit(Linear(), data)
    answers["lightning"] = told(run.info.run_id)
    mlflow.pytorch.autolog(disable=True)


def transformers() -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    torch.manual_seed(0)
    size = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "vocab_size": 11,
    }
    model = BertForSequenceClassification(BertConfig(**size))
    rows = [{"input_ids": torch.tensor([1, 2, 3]), "labels": torch.tensor(row % 2)} for row in range(16)]
    arguments = TrainingArguments(
        "saved", max_steps=4, logging_steps=2, report_to=["mlflow"], per_device_train_batch_size=4, use_cpu=True,
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    with mlflow.start_run(run_name="transformers") as run:
        Trainer(model, arguments, train_dataset=rows).train()
    status, stage, params, own, metrics = told(run.info.run_id, values=False)
    answers["transformers"] = [status, stage, len(params), params["max_steps"], own, metrics]
    answers["transformers history"] = [m.step for m in client.get_metric_history(run.info.run_id, "loss")]


def boosting() -> None:
    import xgboost

    mlflow.xgboost.autolog()
    x = np.random.RandomState(0).rand(60, 3)
    y = (x.sum(1) > 1.5).astype(int)
    data = xgboost.DMatrix(x, label=y)
    with mlflow.start_run(run_name="xgboost") as run:
        parameters = {"max_depth": 2, "objective": "binary:logistic", "nthread": 1}
        xgboost.train(parameters, data, num_boost_round=5, evals=[(data, "train")], verbose_eval=False)
    answers["xgboost"] = told(run.info.run_id)
    answers["xgboost history"] = [
        (m.step, m.value) for m in client.get_metric_history(run.info.run_id, "train-logloss")
    ]
    with mlflow.start_run(run_name="xgboost stopped early") as run:
        classifier = xgboost.XGBClassifier(n_estimators=30, max_depth=2, early_stopping_rounds=2, n_jobs=1)
        classifier.fit(x[:40], y[:40], eval_set=[(x[40:], y[40:])], verbose=False)
    answers["xgboost stopped early"] = told(run.info.run_id)
    mlflow.xgboost.autolog(disable=True)


def files() -> None:
    """Where they are kept is another matter; that they can be sent is not."""
    Path("note.txt").write_text("a note")
    with mlflow.start_run(run_name="files") as run:
        mlflow.log_artifact("note.txt")
        mlflow.log_dict({"a": 1}, "a.json")
        mlflow.log_metric("after", 1.0)
    answers["files"] = told(run.info.run_id)


for part in (fluent, ends, clients, searches, scikit_learn, lightning, transformers, boosting, files):
    part()
print(json.dumps(answers))
