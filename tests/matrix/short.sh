# The short form, in a checkout with its virtual environment: short.sh docker|podman. What a person does first with the tool, on an
# engine that has nothing: the demo, a build, push, pull, verification on a clean engine of the same kind, deletion.
set -eu
engine=$1
PATH="$PWD/.venv/bin:$PATH"
image=john/get-started
done_steps=0

step() { echo "--- $*"; done_steps=$((done_steps + 1)); }
same() { [ "$1" = "$2" ] || { echo "expected: $2"; echo "is:       $1"; exit 1; }; }

step 'demo --purge'
regctl demo --purge

step 'build and push'
regctl build --tag $image:part3 --label version=3 sample_app
pushed=$(regctl push -q $image:part3)
digest=${pushed#*@}
same "$(regctl list-tags -q $image | sort | tr '\n' ' ')" 'part2 part3 '

step 'pull'
regctl rmi $image:part3 localhost:5000/$image:part3
regctl pull $image:part3
regctl inspect $image@"$digest" >/dev/null
regctl check

# a clean podman would be made from packages first: a minute more
[ "$engine" = docker ] || engine=here
step "verify --on $engine"
regctl verify $image:part3 --on "$engine" --expect "$digest" --http 4000:80/ --expect-text World

step 'run'
regctl run --detach --name web --publish 4000:80 $image:part3
for _ in $(seq 60); do curl -fsS http://localhost:4000/ && break || sleep 0.5; done | grep World
regctl rm --force web

step 'delete'
regctl delete --yes $image:part3
same "$(regctl list-tags -q $image)" part2
regctl check

step 'down'
regctl down --volumes --yes
echo "$done_steps passed, 0 failed"
