# comfy-supervisor with ComfyUI under it, for a GPU machine with the NVIDIA Container Toolkit. docs/containers.md
#
#   docker build --tag comfyui .                                           ComfyUI comes by a volume at /opt/ComfyUI
#   docker build --tag comfyui --build-arg COMFYUI_VERSION=v0.33.0 .       ComfyUI is in the image

ARG PYTHON=python:3.12-slim-bookworm
ARG BASE=${PYTHON}

FROM ${PYTHON} AS build
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM ${BASE}
ARG COMFYUI_VERSION=""
ARG PACKAGES=""
ARG UID=1000

# tini reaps what ComfyUI's nodes leave behind, and hands signals on; git is for ComfyUI and its custom nodes; what else
# those need is in PACKAGES. python3-venv is for a base without Python, such as CUDA's.
# hadolint ignore=DL3008,SC2086
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git tini ${PACKAGES} \
    && { command -v python3 || apt-get install --yes --no-install-recommends python3-venv; } \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid "${UID}" --create-home comfyui \
    && install --directory --owner comfyui --mode 0700 /var/lib/comfy-supervisor /run/comfy-supervisor \
    && install --directory --owner comfyui /opt/ComfyUI

COPY --from=build /wheels /wheels
# The last link is for supervisorctl, which looks there by itself.
RUN python3 -m venv /opt/comfy-supervisor \
    && /opt/comfy-supervisor/bin/pip install --no-cache-dir "$(echo /wheels/*.whl)[notify]" \
    && ln -s /opt/comfy-supervisor/bin/comfy-supervisor /opt/comfy-supervisor/bin/supervisorctl /usr/local/bin/ \
    && ln -s /var/lib/comfy-supervisor/supervisord.conf /etc/supervisord.conf

# The two folders are there without a ComfyUI, too: a volume gets the owner of what it is mounted over.
USER ${UID}
RUN if [ -n "${COMFYUI_VERSION}" ]; then \
        git clone --quiet --depth 1 --branch "${COMFYUI_VERSION}" https://github.com/comfyanonymous/ComfyUI /opt/ComfyUI \
        && python3 -m venv /opt/ComfyUI/venv \
        && /opt/ComfyUI/venv/bin/pip install --no-cache-dir --requirement /opt/ComfyUI/requirements.txt; \
    fi \
    && mkdir --parents /opt/ComfyUI/input /opt/ComfyUI/user

# Within the container it listens on every address, or no port of it could be published; who may reach it is then
# decided by what is published: compose.yaml publishes to this machine alone.
ENV COMFY_SUPERVISOR__COMFYUI__DIRECTORY=/opt/ComfyUI \
    COMFY_SUPERVISOR__COMFYUI__LISTEN=0.0.0.0 \
    COMFY_SUPERVISOR__SECURITY__EXPOSE=true \
    COMFY_SUPERVISOR__PATHS__STATE=/var/lib/comfy-supervisor \
    COMFY_SUPERVISOR__PATHS__RUN=/run/comfy-supervisor \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /home/comfyui
VOLUME /var/lib/comfy-supervisor
EXPOSE 8188
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=10m --interval=30s --timeout=20s --retries=3 CMD ["comfy-supervisor", "status", "--exit-code"]
ENTRYPOINT ["tini", "--", "comfy-supervisor"]
CMD ["up", "--exit-on-give-up"]
