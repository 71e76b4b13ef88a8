#!/usr/bin/env bash
# Shows the agent working on this machine: a Docker engine, demonstration images, a stand-in
# for 1Password Connect with KTRDR's vault, a copy of desired-state/ as a git repository, the
# agent on it, a scale by commit, a database password that is rotated, and the status.
#
#   quickstart.sh         start (again)
#   quickstart.sh stop    stop what it started and remove what it made
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=${KTRDR_QUICKSTART_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ktrdr-quickstart}
repo=$home/desired-state
bin=$top/bin
# Memory that both this user's agent and the engine see.
secrets=/dev/shm/ktrdr-quickstart-$(id -u)
connect=127.0.0.1:9189
export KTRDR_AGENT=unix://$home/agent.sock

say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }

# Stops a program whose process id is in a file, if it is still that program.
stop_program() {
	local name=$1 file=$home/$2.pid pid
	[ -f "$file" ] || return 0
	pid=$(cat "$file")
	if kill -0 "$pid" 2>/dev/null && grep -q "$name" "/proc/$pid/cmdline" 2>/dev/null; then
		kill "$pid"
		for _ in $(seq 100); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.1
		done
	fi
	rm -f "$file"
}

stop_all() {
	stop_program ktrdr-agent agent
	stop_program connect-server connect
}

# Removes only what carries the label of the demonstration's node.
remove_objects() {
	local ids
	ids=$(docker ps -aq --filter label=io.ktrdr.node=demo)
	[ -z "$ids" ] || printf '%s\n' "$ids" | xargs docker rm -f -v >/dev/null
	ids=$(docker network ls -q --filter label=io.ktrdr.node=demo)
	[ -z "$ids" ] || printf '%s\n' "$ids" | xargs docker network rm >/dev/null
	ids=$(docker volume ls -q --filter label=io.ktrdr.node=demo)
	[ -z "$ids" ] || printf '%s\n' "$ids" | xargs docker volume rm >/dev/null
}

commit() {
	git -C "$repo" add -A
	git -C "$repo" -c user.name=quickstart -c user.email=quickstart@example.org commit -q -m "$1"
}

# The address by which containers reach what this machine publishes.
host_address() {
	local address
	address=$(ip -4 -o addr show dev docker0 2>/dev/null | awk '{split($4, a, "/"); print a[1]; exit}')
	[ -n "$address" ] || address=$(docker network inspect bridge --format '{{range .IPAM.Config}}{{.Gateway}}{{end}}')
	if [ -z "$address" ]; then
		echo "quickstart: the engine's bridge has no address; is it started with --bridge=none?" >&2
		return 1
	fi
	printf '%s\n' "$address"
}

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

make_repository() {
	local gateway=$1
	rm -rf "$repo"
	cp -r "$top/desired-state" "$repo"
	mkdir -p "$home/data"
	# The share of the homelab is a folder of the demonstration here.
	find "$repo/stacks" -name compose.yaml -exec sed -i "s#- /mnt/ktrdr_data#- $home/data#" {} +
	# The stand-in of the backend logs in to the database before it serves.
	sed -i 's/^\( *\)KTRDR_DB_HOST: db$/&\n\1KTRDRSIM_DB_DIAL: "1"/' "$repo/stacks/core/compose.yaml"
	cat >"$repo/nodes/demo.yaml" <<EOF
apiVersion: ktrdr.io/v1alpha1
kind: Node
metadata:
  name: demo
  description: this machine plays node a and node b at once
spec:
  hostname: $gateway
  stacks:
    - name: core
    - name: workers
  variables:
    BACKEND_HOST: $gateway
  scale:
    backtest: 1
    training: 1
EOF
	git -C "$repo" init -q -b main
	commit "KTRDR on one machine"
}

# KTRDR's vault with values of this demonstration.
write_vault() {
	[ ! -f "$home/vaults.yaml" ] || return 0
	(
		umask 077
		cat >"$home/vaults.yaml" <<EOF
vaults:
  - name: KTRDR Homelab Secrets
    items:
      - title: ktrdr-homelab-core
        fields:
          - {label: db_username, type: STRING, value: ktrdr}
          - {label: db_password, value: $(random 16)}
          - {label: jwt_secret, value: $(random 32)}
          - {label: grafana_password, value: $(random 12)}
          - {label: ghcr_token, value: unused}
EOF
	)
}

start_connect() {
	write_vault
	(cd "$top" && go build -o "$home/connect-server" ./test/connect/cmd/connect-server)
	rm -f "$home/connect-token"
	nohup setsid "$home/connect-server" -listen "$connect" -data "$home/vaults.yaml" -token-file "$home/connect-token" \
		-expires 2160h >"$home/connect.log" 2>&1 </dev/null &
	echo $! >"$home/connect.pid"
	for _ in $(seq 100); do
		curl -fsS -o /dev/null "http://$connect/heartbeat" 2>/dev/null && return 0
		kill -0 "$(cat "$home/connect.pid")" 2>/dev/null || break
		sleep 0.1
	done
	echo "the stand-in for Connect did not start; its log:" >&2
	cat "$home/connect.log" >&2
	exit 1
}

write_config() {
	cat >"$home/agent.yaml" <<EOF
node: demo
stateDir: $home/state
secretsDir: $secrets
socket: $home/agent.sock
listen: 127.0.0.1:9180
source:
  git:
    url: file://$repo
    pollInterval: 2s
secrets:
  connect:
    url: http://$connect
    tokenFile: $home/connect-token
  refresh: 5s
EOF
}

start_agent() {
	nohup setsid "$bin/ktrdr-agent" run --config "$home/agent.yaml" >"$home/agent.log" 2>&1 </dev/null &
	echo $! >"$home/agent.pid"
	for _ in $(seq 100); do
		[ -S "$home/agent.sock" ] && return 0
		kill -0 "$(cat "$home/agent.pid")" 2>/dev/null || break
		sleep 0.1
	done
	echo "the agent did not start; its log:" >&2
	tail -n 20 "$home/agent.log" >&2
	exit 1
}

await_converged() {
	if ! "$bin/ktrdrctl" sync --wait --wait-timeout 3m; then
		echo "not converged; the agent's log: $home/agent.log" >&2
		exit 1
	fi
}

# A new db_password: the role in the database is altered, then the backend follows, then the workers.
rotate_password() {
	local before
	before=$(docker inspect --format '{{.Id}}' ktrdr-backend)
	sed -i "s/\(label: db_password, value: \)[0-9a-f]*/\1$(random 16)/" "$home/vaults.yaml"
	for _ in $(seq 300); do
		[ "$(docker inspect --format '{{.Id}}' ktrdr-backend 2>/dev/null)" = "$before" ] || break
		sleep 0.2
	done
	await_converged
	docker inspect --format '{{.State.StartedAt}}  {{.Name}}' ktrdr-db ktrdr-backend backtest-worker-{1,2,3} training-worker-1 | sort
}

if [ "${1:-}" = stop ]; then
	stop_all
	remove_objects
	rm -rf "$home" "$secrets"
	(cd "$top" && go run ./test/demo/cmd/demo-images -remove >/dev/null)
	echo "stopped; containers, networks and volumes of the demonstration are gone"
	exit 0
fi

mkdir -p "$home"
say "Docker engine"
"$top/scripts/engine.sh" start git curl
say "Build"
make -s -C "$top" build
say "Demonstration images (made from scratch, no registry)"
(cd "$top" && go run ./test/demo/cmd/demo-images)
stop_all
say "A stand-in for 1Password Connect with the vault in $home/vaults.yaml"
start_connect
say "Desired state: a copy of desired-state/ as a git repository in $repo"
gateway=$(host_address)
make_repository "$gateway"
write_config
say "Agent of node demo on it"
start_agent
await_converged
say "Scale backtest to 3 by a commit"
sed -i 's/backtest: 1/backtest: 3/' "$repo/nodes/demo.yaml"
commit "backtest: 3 workers"
git -C "$repo" log --oneline | head -n 2
await_converged
say "Rotate db_password in the vault: the role, then the backend, then the workers"
rotate_password
say "What the backend sees"
curl -fsS "http://$gateway:8000/api/v1/workers"
echo
cat <<EOF

The agent runs on. Try:
  export KTRDR_AGENT=$KTRDR_AGENT
  bin/ktrdrctl status --watch
  docker rm -f backtest-worker-1            # it is back in a moment
  bin/ktrdrctl events                       # the rotation among them: role, backend, workers
  bin/ktrdrctl secrets
  \$EDITOR $home/vaults.yaml    # another jwt_secret (32 characters at least) replaces the backend, and nothing else;
                                            # another db_password or grafana_password is rotated
  \$EDITOR $repo/nodes/demo.yaml && git -C $repo commit -am 'my change'
Stop and remove everything: make quickstart-stop
EOF
