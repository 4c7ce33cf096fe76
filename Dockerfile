# A server of one exported model: the runtime alone, no torch, and a user without rights.
#
#   plait export runs/a --out app && docker build -t plait-app .
#   docker run --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 -v "$PWD/key.txt:/run/secrets/token:ro" plait-app
#
# The folder `app` is the model. The token is a secret of the run and no part of the image.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin plait

WORKDIR /srv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN pip install --constraint constraints.txt ".[serve]"
COPY app ./app

USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=3s CMD ["python", "-c", "import plait, sys; sys.exit(not plait.Client('http://127.0.0.1:8000').is_ready())"]
ENTRYPOINT ["plait", "serve", "/srv/app", "--host", "0.0.0.0", "--token-file", "/run/secrets/token"]
