# An image that predicts, evaluates and reports, without TensorFlow: weights inside, no network at run time.
#
#   buildah build --tag spleen_tf .          (or docker build --tag spleen_tf .)
#   docker run --rm --network=none --read-only --tmpfs=/tmp --user="$(id -u):$(id -g)" \
#       --volume="$PWD/scans:/in:ro" --volume="$PWD/masks:/out" \
#       spleen_tf predict --input=/in --output=/out
#
# BASE is any image with CPython 3.11 to 3.13 and its venv; name it by digest for a build that repeats.
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/spleen_tf \
    && /opt/spleen_tf/bin/pip install --no-cache-dir --require-hashes -r requirements-predict.lock \
    && /opt/spleen_tf/bin/pip install --no-cache-dir --no-deps .
# The bill of materials: every Python package with its version and licence; the lock has the hashes.
RUN /opt/spleen_tf/bin/python3 -m pip uninstall --yes pip \
    && python3 -m venv /opt/sbom \
    && /opt/sbom/bin/pip install --no-cache-dir "cyclonedx-bom>=5,<8" \
    && /opt/sbom/bin/cyclonedx-py environment --output-format JSON \
        --output-file /opt/spleen_tf/sbom.cdx.json /opt/spleen_tf/bin/python3

FROM ${BASE}
COPY --from=build /opt/spleen_tf /opt/spleen_tf
# Nothing is written but to /tmp and to the folder of the outputs.
ENV PATH=/opt/spleen_tf/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["spleen-tf"]
CMD ["--help"]
