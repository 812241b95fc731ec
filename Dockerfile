# The server (the default target) and an agent with Debian's OpenSMTPD:
#   docker build -t relaymap .
#   docker build -t relaymap-agent --target agent .
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /srv/relaymap
COPY requirements/run.txt requirements/run.txt
RUN python3 -m venv .venv \
 && .venv/bin/python -m pip install --no-cache-dir --require-hashes -r requirements/run.txt

FROM ${BASE} AS runtime
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /srv/relaymap
COPY --from=build /srv/relaymap/.venv .venv
COPY app app
ENV PATH=/srv/relaymap/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["python3", "-m", "app"]

# One MTA and its agent, which runs smtpd as its child; run it with --init, with --hostname, which is what smtpd calls
# itself, and with the queue and the state on volumes of mode 0711, or smtpd refuses the queue.
# smtpd asks the table program; RELAYMAP_AGENT_MODE=static lets it read files instead.
# The rules arrive through the include; mount a file of your own over /etc/smtpd.conf to add listeners or local delivery.
FROM runtime AS agent
RUN apt-get update \
 && apt-get install -y --no-install-recommends opensmtpd \
 && rm -rf /var/lib/apt/lists/* /etc/mailname \
 && install -d -m 0711 /var/lib/relaymap-agent /var/spool/smtpd \
 && printf '%s\n' \
      'table aliases file:/etc/aliases' \
      'listen on 0.0.0.0' \
      'action "local" maildir alias <aliases>' \
      'match from local for local action "local"' \
      'include "/var/lib/relaymap-agent/live/relaymap.conf"' >/etc/smtpd.conf \
 && python3 -m app table-program install
ENV RELAYMAP_AGENT_CONTROL=supervise
VOLUME ["/var/lib/relaymap-agent", "/var/spool/smtpd"]
EXPOSE 25
CMD ["agent"]

# It listens on every address of the container, and so refuses to start without RELAYMAP_TLS_CERT_FILE and its key, or
# RELAYMAP_BEHIND_PROXY=1 where something in front of it speaks TLS. RELAYMAP_ALLOWED_HOSTS names what it is called.
FROM runtime AS server
RUN useradd --system --uid 10001 --home-dir /var/lib/relaymap relaymap \
 && install -d -m 0700 -o relaymap -g relaymap /var/lib/relaymap
USER 10001
ENV RELAYMAP_HOST=0.0.0.0
VOLUME ["/var/lib/relaymap"]
EXPOSE 8025
CMD ["serve"]
