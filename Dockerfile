# syntax=docker/dockerfile:1

# The daemon's image: the program, the C library it needs, root certificates; no shell and no package manager.
#   docker build -t customer-sync .
#   docker run --read-only -v customer-sync:/data -p 127.0.0.1:8080:8080 customer-sync

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# The caches outlive a build, the folder `target` does not outlive this step: the program is copied out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --locked --profile dist --bin customer-sync \
    && install -D -m 0755 target/dist/customer-sync /image/customer-sync \
    && install -d -m 0700 /image/data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image/customer-sync /usr/local/bin/
# 65532 is `nonroot`; as a number, so that Kubernetes can see that it is not root.
COPY --from=build --chown=65532:65532 /image/data /data
USER 65532:65532
ENV HTTP_LISTEN=0.0.0.0:8080 \
    CUSTOMER_SYNC__DATA__DIRECTORY=/data \
    CUSTOMER_SYNC__LOG__FORMAT=json \
    MALLOC_ARENA_MAX=1 \
    MALLOC_TRIM_THRESHOLD_=131072
# The SQLite file and secrets.key, where they are used. Nothing else is ever written: the root file system may be
# read-only.
VOLUME /data
EXPOSE 8080
# Liveness only: a database that is away is no reason to start this again. Without the role http: --no-healthcheck.
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s CMD ["customer-sync", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["customer-sync"]
CMD ["run"]
