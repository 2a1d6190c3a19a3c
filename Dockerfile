# The server and its embedded model, for processors; with EXTRAS=nemo,redis,jwt for an NVIDIA GPU too, because
# PyTorch's packages bring CUDA's libraries with them: docs/deploy.md.
FROM python:3.11-slim AS build
ARG EXTRAS=redis,jwt
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/echoic
COPY pyproject.toml README.md LICENSE ./
COPY requirements/constraints.txt requirements/extras.txt requirements/
COPY src src
# The versions that the tests ran with; NeMo and its like have a set of their own.
RUN case ",$EXTRAS," in \
      *,nemo,*|*,whisper,*) set -- -c requirements/extras.txt ;; \
      *) set -- -c requirements/constraints.txt ;; \
    esac; \
    /opt/echoic/bin/pip install "$@" ".[$EXTRAS]"

FROM python:3.11-slim
# What is kept stands in /data: models, users' keys.
RUN useradd --system --uid 10001 --no-create-home echoic && install -d -o echoic -g echoic /data
COPY --from=build /opt/echoic /opt/echoic
ENV PATH=/opt/echoic/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    ECHOIC_HOST=0.0.0.0 \
    ECHOIC_LOG_FORMAT=json \
    ECHOIC_MODELS_DIR=/data/models
USER echoic
VOLUME /data
EXPOSE 8000
# It reads the settings as the server does: another port, TLS, a file.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
  CMD ["echoic", "alive"]
CMD ["echoic", "serve"]
