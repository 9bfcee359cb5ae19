#!/usr/bin/env bash
# Makes the secrets that docker-compose.yml mounts, in deploy/secrets, or in another FOLDER for Kubernetes. What is there stays: remove a file to get a new one.
# With a new redis_password come the two files that hold it as well, unless redis_url names a Redis of your own.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-deploy/secrets}
umask 077
mkdir -p "$folder/access"
# This folder alone is mounted as one, for a user who does not own it.
chmod 0755 "$folder/access"
# The folder keeps strangers out, also one that was there before. Its files are mounted with the mode that they have, for users
# who do not own them.
chmod 0700 "$folder"
made() { # the file, unless it is there; what comes in is read to its end either way
  if [ -s "$folder/$1" ]; then cat > /dev/null; else
    cat > "$folder/$1" && chmod 0644 "$folder/$1" && echo "made $folder/$1"
  fi
}
random() { head -c 32 /dev/urandom | base64 | tr -d '+/=\n'; }

if [ ! -s "$folder/redis_password" ]; then
  rm -f "$folder/redis_users"
  if grep -qs '@redis:6379/' "$folder/redis_url"; then rm "$folder/redis_url"; fi
fi
# Where the keys were before they had a folder.
if [ -s "$folder/keys" ] && [ ! -e "$folder/access/keys" ]; then mv "$folder/keys" "$folder/access/keys"; fi

random | made cache_secret
random | made redis_password
random | made grafana_password
password=$(cat "$folder/redis_password")
echo "redis://:$password@redis:6379/0" | made redis_url
hash=$(printf %s "$password" | sha256sum | cut -d' ' -f1)
echo "user default on #$hash ~* &* +@all -@dangerous +info +config|get" | made redis_users
# A folder of its own, because a file that is mounted by itself stays what it was when an editor puts another in its place.
printf '# Entries of `yolov7-service key NAME`. KEYS_FILE=/run/access/keys makes the gateway ask for them.\n' | made access/keys
made alertmanager.yml < deploy/alertmanager/alertmanager.yml
echo "Grafana: user admin, password in $folder/grafana_password"
