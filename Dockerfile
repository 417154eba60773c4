# Two images: `scheduler` runs any role of `taskscheduler serve`, `flink` the JobManager, the TaskManager and job submission.
# Python 3.11 or 3.12: apache-flink has no wheels for newer ones. Its Python bridge has Linux wheels for x86-64 only.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim-bookworm AS scheduler
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[node]" \
 && useradd --system --uid 1000 --create-home taskscheduler \
 && install --directory --owner=taskscheduler /data /run/claims
USER taskscheduler
WORKDIR /data
ENV PYTHONUNBUFFERED=1 \
    TASKSCHEDULER_DATA_DIR=/data \
    TASKSCHEDULER_HOST=0.0.0.0 \
    TASKSCHEDULER_LOG__FORMAT=json
EXPOSE 8080
VOLUME /data
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["python", "-c", \
  "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/actuator/health/readiness', timeout=2)"]
CMD ["taskscheduler", "serve"]

FROM scheduler AS flink
USER root
ENV TASKSCHEDULER_CACHE_DIR=/opt/jars \
    FLINK_HOME=/opt/flink \
    FLINK_CONF_DIR=/opt/flink/conf \
    FLINK_LIB_DIR=/opt/flink/lib \
    FLINK_OPT_DIR=/opt/flink/opt \
    FLINK_PLUGINS_DIR=/opt/flink/plugins \
    PYTHONPATH=/opt/flink/python
RUN apt-get update \
 && apt-get install --yes --no-install-recommends openjdk-17-jre-headless maven \
 && pip install --no-cache-dir "$(echo /wheels/*.whl)[cluster]" \
 && python -m taskscheduler.api.local_cluster.flink_home /opt/flink \
 && apt-get purge --yes maven \
 && apt-get autoremove --yes \
 && rm -rf /var/lib/apt/lists/* ~/.m2 \
 && install --directory --owner=taskscheduler /opt/flink/log /state
USER taskscheduler
EXPOSE 8081 9249
VOLUME /state
HEALTHCHECK NONE
CMD ["/opt/flink/bin/jobmanager.sh", "start-foreground"]
