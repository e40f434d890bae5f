# docker build -t ezcli . && docker run --rm -v "$PWD:/work" ezcli train --env catch
FROM python:3.12-slim

# PyTorch's CPU builds make a smaller image: https://download.pytorch.org/whl/cpu
ARG PIP_EXTRA_INDEX_URL=""

COPY . /opt/ezcli
RUN PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL" \
    pip install --no-cache-dir --constraint /opt/ezcli/constraints.txt "/opt/ezcli[minatar,gymnasium]"

# Numba's compiled kernels and what the user trusts lie in the home folder.
ENV HOME=/tmp
WORKDIR /work
ENTRYPOINT ["ez"]
CMD ["--help"]
