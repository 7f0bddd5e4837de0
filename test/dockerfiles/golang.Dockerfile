# The image that Cove's own Dockerfile takes its compiler from, made of the toolchain that is here.
FROM debian:base
COPY --from=go --link / /usr/local/go/
ENV PATH=/usr/local/go/bin:$PATH GOTOOLCHAIN=local
