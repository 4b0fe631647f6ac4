# pgwarden in a container: installed from requirements.lock as docs/operations.md does on a host.
#
#   docker build -t pgwarden .
#   collector  docker run -v pgwarden:/var/lib/pgwarden -p 9128:9128 -v ./pgwarden.yaml:/etc/pgwarden/pgwarden.yaml:ro \
#                pgwarden collector
#   agent      docker run --user 0 --pid host --cap-drop ALL --cap-add BPF --cap-add PERFMON --cap-add SYS_ADMIN \
#                --cap-add SYS_RESOURCE --cap-add SYS_PTRACE --cap-add DAC_READ_SEARCH --cap-add KILL \
#                --cap-add SETUID --cap-add SETGID --security-opt apparmor=unconfined \
#                -v pgwarden-agent:/var/lib/pgwarden -v ./pgwarden.yaml:/etc/pgwarden/pgwarden.yaml:ro \
#                pgwarden agent
#
# The agent needs the host's pid namespace: it finds servers and their binaries through /proc. Docker
# gives capabilities to root only, hence --user 0 for the agent; SETUID and SETGID are there to take
# root away from the parser worker. The collector runs without any capability.

FROM debian:12-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends clang llvm libbpf-dev python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements.lock ./
RUN python3 -m venv /opt/pgwarden \
 && /opt/pgwarden/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
      --require-hashes -r requirements.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY model model
COPY config config
COPY rules rules
COPY protos protos
COPY agent agent
COPY analytics analytics
COPY collector collector
COPY cli cli
# The build compiles the probes; what it needs for itself (hatchling) stays out of the image.
RUN /opt/pgwarden/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps .

FROM debian:12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends libbpf1 libelf1 python3 tzdata \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 990 --user-group --no-create-home --shell /usr/sbin/nologin pgwarden \
 && install -d -o pgwarden -g pgwarden -m 0700 /var/lib/pgwarden \
 && install -d -o pgwarden -g pgwarden -m 0750 /run/pgwarden \
 && install -d /etc/pgwarden
COPY --from=build /opt/pgwarden /opt/pgwarden
ENV PATH=/opt/pgwarden/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER pgwarden
VOLUME /var/lib/pgwarden
EXPOSE 9127 9128
ENTRYPOINT ["/opt/pgwarden/bin/pgwarden"]
CMD ["collector"]
