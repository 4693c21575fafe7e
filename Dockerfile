# The image of Muster:            docker build -t muster:0.1.0 .
# and with a data set to try it:  docker build --target demo -t muster-demo:0.1.0 .
# Debian's packages come by the list of tools/setup; what the binary needs to run, the package that tools/package makes knows.

FROM debian:bookworm-slim AS build
WORKDIR /src
COPY tools/setup tools/setup
RUN tools/setup package
COPY . .
RUN tools/package --no-setup

FROM debian:bookworm-slim AS runtime
COPY --from=build /src/build/package/muster_*.deb /tmp/
RUN apt-get -q update \
    && apt-get -q -y install --no-install-recommends /tmp/muster_*.deb \
    && rm -rf /var/lib/apt/lists/* /tmp/muster_*.deb
# A number, for runAsNonRoot of Kubernetes cannot tell who a name is.
USER 10001:10001
WORKDIR /tmp
# No shell around it: SIGTERM reaches the program, whose exit code then says whether work is left.
ENTRYPOINT ["muster"]
CMD ["--help"]

FROM runtime AS demo
USER 0:0
RUN apt-get -q update \
    && apt-get -q -y install --no-install-recommends dataset-fashion-mnist \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001

FROM runtime AS muster
