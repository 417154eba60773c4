"""A process that builds the job described on its standard input and hands it to Flink.

It is one of its own since pyflink takes its settings from the environment and starts a Java process that ends with it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from py4j.protocol import Py4JJavaError
from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway

from taskscheduler.streams.flink.key_stores import opened, rest_options
from taskscheduler.streams.flink.options import JobOptions, Submitted
from taskscheduler.streams.flink.pipeline import build

_UNREAD = (
    "kafka.key_file or flink.key_file: Java cannot read it; openssl pkcs8 -topk8 -v2 aes256 makes a key that it can"
)


def submit(options: JobOptions) -> Submitted:
    """Build the job and hand it to the JobManager, without waiting until it runs."""
    with tempfile.TemporaryDirectory(prefix="taskscheduler-") as folder:
        return _submit(options, Path(folder))


def _submit(options: JobOptions, folder: Path) -> Submitted:
    try:
        options = msgspec.structs.replace(options, kafka=opened(options.kafka), rest=opened(options.rest))
    except Py4JJavaError as error:
        return Submitted(refusal=f"{_UNREAD}: {_innermost(error.java_exception)}")
    try:
        rest = rest_options(options.rest, folder) if options.rest else {}
        environment = _environment({**options.flink, **rest})
        build(environment, options)
        graph = environment._generate_stream_graph(job_name=options.name)
        if strays := _not_in_threads(graph):
            return Submitted(refusal=f"Flink would not run {', '.join(strays)} in its own threads")
        client = environment._j_stream_execution_environment.executeAsync(graph)
        return Submitted(job_id=client.getJobID().toString())
    except Py4JJavaError as error:
        return Submitted(refusal=_innermost(error.java_exception))


def _environment(options: Mapping[str, str]) -> StreamExecutionEnvironment:
    configuration = Configuration()
    for name, value in options.items():
        configuration.set_string(name, value)
    # pyflink's own way to an environment gives one that runs jobs here, unless `flink run` has started Python.
    java = get_gateway().jvm.org.apache.flink.streaming.api.environment
    return StreamExecutionEnvironment(java.StreamExecutionEnvironment(configuration._j_configuration))


def _not_in_threads(graph: Any) -> list[str]:
    """The operators in Python that Flink has chosen to run in processes, whatever was configured."""
    found = []
    for node in graph.getStreamNodes().toArray():
        factory = node.getOperatorFactory()
        # Only these hold an operator that is made already, and all of pyflink's are such.
        if factory.getClass().getSimpleName().startswith("Simple"):
            kind = factory.getOperator().getClass().getName()
            if ".python." in kind and ".embedded." not in kind:
                found.append(node.getOperatorName())
    return found


def _innermost(exception: Any) -> str:
    """The cause of causes, in one line."""
    while (cause := exception.getCause()) is not None:
        exception = cause
    return " ".join(str(exception.toString()).split())


def main() -> None:
    """Read options, write Submitted."""
    answer = os.dup(1)
    os.dup2(2, 1)  # for what Java prints
    options = msgspec.json.decode(sys.stdin.buffer.read(), type=JobOptions)
    os.write(answer, msgspec.json.encode(submit(options)))


if __name__ == "__main__":
    main()
