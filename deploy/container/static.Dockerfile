# The same with the static binary of deploy/release/static, which has to be there before:
#   deploy/release/static && docker build --file deploy/container/static.Dockerfile --tag lictor:static .
# For another architecture, both are told:
#   deploy/release/static aarch64-unknown-linux-musl
#   docker build --platform linux/arm64 --build-arg TARGET=aarch64-unknown-linux-musl --file deploy/container/static.Dockerfile --tag lictor:static-arm64 .

# CA certificates, a user, time zones, and nothing else.
FROM gcr.io/distroless/static-debian12:nonroot
ARG TARGET=x86_64-unknown-linux-musl
LABEL org.opencontainers.image.title="lictor" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY target/${TARGET}/release/lictor /usr/bin/lictor
COPY deploy/container/lictor.toml /etc/lictor/lictor.toml
USER 65532:65532
EXPOSE 8080 9990
STOPSIGNAL SIGTERM
# Alive and not ready: an engine that starts anew what is not healthy must not do so to one that waits for Consul.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["/usr/bin/lictor", "health", "--live"]
ENTRYPOINT ["/usr/bin/lictor"]
CMD ["serve", "--config", "/etc/lictor/lictor.toml"]
