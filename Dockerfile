# syntax=docker/dockerfile:1
# One image for the web server, the workers and all commands: docs/more-machines.md.
#   docker build -t anonymizer .                            on CPUs
#   docker build -t anonymizer:cuda --build-arg DEVICE=cuda .    on NVIDIA GPUs
FROM python:3.12-slim-bookworm AS built

ARG DEVICE=cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/anonymizer
ENV PATH=/opt/anonymizer/bin:$PATH
WORKDIR /source
COPY requirements.txt requirements-cluster.txt requirements-models.txt ./
# torch first, both of its packages from one place: PyPI has the build for CUDA, this address the small one for CPUs
RUN case "$DEVICE" in \
        cpu) grep -E '^torch(vision)?>' requirements.txt > torch.txt \
            && pip install -r torch.txt --index-url https://download.pytorch.org/whl/cpu ;; \
        cuda) ;; \
        *) echo "DEVICE is '$DEVICE', but must be cpu or cuda" >&2; exit 2 ;; \
    esac
# what only the notebooks need stays out
RUN grep -vE '^(jupyterlab|ipywidgets)>' requirements.txt > service.txt \
    && pip install -r service.txt -r requirements-cluster.txt -r requirements-models.txt
COPY pyproject.toml setup.py README.md LICENSE requirements-ray.txt ./
COPY models models
COPY celantur_site celantur_site
COPY anonymizer anonymizer
RUN pip install --no-deps .

FROM python:3.12-slim-bookworm

# libgl1, libglib2.0-0: for opencv-python; tini ends processes whose parent has died
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /data anonymizer \
    && install -d -m 700 -o anonymizer -g anonymizer /data \
    && install -d -o anonymizer -g anonymizer /models
COPY --from=built /opt/anonymizer /opt/anonymizer
ENV PATH=/opt/anonymizer/bin:$PATH \
    HOME=/data \
    ANONYMIZER_DATA_DIR=/data \
    ANONYMIZER_MODELS_DIR=/models \
    ANONYMIZER_FETCH_SECONDS=0 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
# the database and files of a single host, and temporary copies; better models than those of the image
VOLUME ["/data", "/models"]
WORKDIR /data
USER 10001:10001
EXPOSE 7000
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7000/healthz', timeout=4)"]
ENTRYPOINT ["tini", "--", "anonymizer"]
CMD ["serve", "--host", "0.0.0.0"]
