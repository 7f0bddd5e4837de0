# syntax=docker/dockerfile:1
# Cove in an image: `cove build -t cove .`, then
#   cove run --privileged -v cove:/var/lib/cove cove            the daemon
#   cove run -v /run/cove:/run/cove cove cove ps                the command line, of the host's daemon
# In a place whose HTTPS goes through a proxy with a certificate of its own: --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
WORKDIR /src
COPY . .
ARG TARGETOS TARGETARCH COMMIT=unknown PROGRAMS=./cmd/...
RUN --mount=type=cache,target=/root/.cache/go-build --mount=type=cache,target=/root/go/pkg/mod \
    --mount=type=secret,id=ca,target=/run/ca.crt <<EOF
    set -e
    [ ! -s /run/ca.crt ] || export SSL_CERT_FILE=/run/ca.crt
    export CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH GOMODCACHE=/root/go/pkg/mod
    mkdir /out
    go build -trimpath -ldflags "-s -w -X github.com/cove-containers/cove/release.Commit=$COMMIT" -o /out/ $PROGRAMS
EOF

FROM scratch
COPY --from=build /out/ /usr/local/bin/
ENV PATH=/usr/local/bin
VOLUME /var/lib/cove
CMD ["coved"]
