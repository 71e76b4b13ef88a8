#!/usr/bin/env bash
# Shows a fleet of one node on this machine: a Docker engine, demonstration images, a stand-in
# for 1Password Connect with KTRDR's vault, a controller, an agent that joins it, a push of a copy
# of desired-state/, a scale, a deployment, a database password that is rotated, and the status.
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
controller=127.0.0.1:8443
export KTRDR_CONFIG=$home/ktrdrctl.yaml
# It would win over the authority that the clone is set up with.
unset GIT_SSL_CAINFO

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
	stop_program ktrdr-controller controller
	stop_program connect-server connect
}

# Removes only what carries the label of the demonstration's node.
remove_objects() {
	local ids
	ids=$(docker ps -aq --filter label=io.ktrdr.node=demo)
	[ -z "$ids" ] || printf '%s\n' "$ids" | xargs docker rm -f -v >/dev/null
	for _ in 1 2 3 4 5; do
		ids=$(docker network ls -q --filter label=io.ktrdr.node=demo)
		[ -n "$ids" ] || break
		printf '%s\n' "$ids" | xargs docker network rm >/dev/null 2>&1 || sleep 1
	done
	[ -z "$ids" ] || echo "the engine says that networks are in use and removes them after its next restart only: $(echo $ids)" >&2
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
	# Nobody dumps the demonstration's database: the status would warn of it.
	sed -i '/^  backups:$/,/^      watch:/d' "$repo/stacks/core/stack.yaml"
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
	# One node, so no others, no waves, and no stacks of others.
	rm -rf "$repo/stacks/gpu" "$repo/stacks/connect"
	find "$repo/nodes" -name '*.yaml' ! -name demo.yaml -delete
	sed -i '/^  # A controller brings/,/^    timeout:/d' "$repo/fleet.yaml"
	git -C "$repo" init -q -b main
	commit "KTRDR on one machine"
	"$bin/ktrdrctl" git setup "$repo" >/dev/null
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
      - title: ktrdr-fleet
        fields:
          - {label: viewer_token, value: unknown}
          - {label: authority, value: unknown}
EOF
	)
}

# What Prometheus shows the controller, and how it knows it, as `ktrdrctl operator add` gives it.
write_viewer() {
	local token authority
	"$bin/ktrdrctl" operator add prometheus --role viewer -o "$home/viewer.yaml" >/dev/null
	token=$(awk '$1 == "token:" {print $2}' "$home/viewer.yaml")
	authority=$(awk '$1 == "authority:" {print $2}' "$home/viewer.yaml" | base64 -d | awk '{printf "%s\\\\n", $0}')
	rm -f "$home/viewer.yaml"
	sed -i -e "s|\(label: viewer_token, value: \)[^}]*|\1$token|" -e "s|\(label: authority, value: \)[^}]*|\1\"$authority\"|" "$home/vaults.yaml"
}

start_connect() {
	write_vault
	write_viewer
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

# await_start NAME WHAT...: waits until a program that was started has what shows that it is up.
await_start() {
	local name=$1
	shift
	for _ in $(seq 200); do
		"$@" >/dev/null 2>&1 && return 0
		kill -0 "$(cat "$home/$name.pid")" 2>/dev/null || break
		sleep 0.1
	done
	echo "the $name did not start; its log:" >&2
	tail -n 20 "$home/$name.log" >&2
	exit 1
}

start_controller() {
	rm -rf "$home/controller" "$KTRDR_CONFIG"
	cat >"$home/controller.yaml" <<EOF
listen: $controller
names: [localhost]
ips: [127.0.0.1]
advertise: ["$controller"]
stateDir: $home/controller
metrics: 127.0.0.1:9181
EOF
	"$bin/ktrdr-controller" init --config "$home/controller.yaml" --out "$home/admin.yaml" >/dev/null
	nohup setsid "$bin/ktrdr-controller" run --config "$home/controller.yaml" >"$home/controller.log" 2>&1 </dev/null &
	echo $! >"$home/controller.pid"
	await_start controller curl -fsS http://127.0.0.1:9181/readyz
	"$bin/ktrdrctl" context add quickstart --from "$home/admin.yaml"
	rm -f "$home/admin.yaml"
}

# The node joins with a one-time token, as on any other machine; there is no service here.
join() {
	rm -rf "$home/state/credentials"
	cat >"$home/agent.yaml" <<EOF
node: demo
stateDir: $home/state
secretsDir: $secrets
socket: $home/agent.sock
listen: 127.0.0.1:9180
source:
  controller:
    endpoints: ["$controller"]
secrets:
  connect:
    url: http://$connect
    tokenFile: $home/connect-token
  refresh: 5s
EOF
	"$bin/ktrdrctl" node join-token demo 2>/dev/null |
		"$bin/ktrdr-agent" join "https://$controller" --token-file - --no-service --config "$home/agent.yaml"
	nohup setsid "$bin/ktrdr-agent" run --config "$home/agent.yaml" >"$home/agent.log" 2>&1 </dev/null &
	echo $! >"$home/agent.pid"
	await_start agent test -S "$home/agent.sock"
}

await_converged() {
	if ! "$bin/ktrdrctl" --agent "unix://$home/agent.sock" sync --wait --wait-timeout 3m; then
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
say "Controller on https://$controller, with an authority and an admin of its own"
start_controller
say "A stand-in for 1Password Connect with the vault in $home/vaults.yaml"
start_connect
say "This machine joins as node demo"
join
say "git push desired-state main: a copy of desired-state/ in $repo"
gateway=$(host_address)
make_repository "$gateway"
git -C "$repo" push desired-state main
say "ktrdrctl scale backtest=3 node=demo"
"$bin/ktrdrctl" scale backtest=3 node=demo
say "ktrdrctl deploy core backend --tag sha-de00002"
"$bin/ktrdrctl" deploy core backend --tag sha-de00002
say "What the two commands have committed"
git -C "$repo" pull -q --ff-only desired-state main
git -C "$repo" log --format='%h %an: %s'
say "Rotate db_password in the vault: the role, then the backend, then the workers"
rotate_password
say "ktrdrctl status"
for _ in $(seq 50); do # agents tell what changed a moment later
	"$bin/ktrdrctl" status >/dev/null && break
	sleep 0.2
done
"$bin/ktrdrctl" status
say "What the backend sees"
curl -fsS "http://$gateway:8000/api/v1/workers"
echo
cat <<EOF

Controller and agent run on. Try:
  export KTRDR_CONFIG=$KTRDR_CONFIG
  bin/ktrdrctl status --watch
  docker rm -f backtest-worker-1            # it is back in a moment
  bin/ktrdrctl events                       # the rotation among them: role, backend, workers
  bin/ktrdrctl logs -f core backend
  bin/ktrdrctl history; bin/ktrdrctl rollback
  bin/ktrdrctl secrets; bin/ktrdrctl doctor
  \$EDITOR $home/vaults.yaml    # another jwt_secret (32 characters at least) replaces the backend, and nothing else;
                                            # another db_password is rotated again
  cd $repo && \$EDITOR nodes/demo.yaml && git commit -am 'my change' && git push desired-state main
Stop and remove everything: make quickstart-stop
EOF
