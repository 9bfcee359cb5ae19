#!/usr/bin/env bash
# Makes the secrets that docker-compose.yml mounts, in deploy/secrets, or in another FOLDER for Kubernetes. What is there stays: remove a file to get a new one.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-deploy/secrets}
umask 077
mkdir -p "$folder"
# The folder keeps strangers out. Its files are mounted with the mode that they have, for users who do not own them.
made() { # the file, unless it is there; what comes in is read to its end either way
  if [ -s "$folder/$1" ]; then cat > /dev/null; else
    cat > "$folder/$1" && chmod 0644 "$folder/$1" && echo "made $folder/$1"
  fi
}
random() { head -c 32 /dev/urandom | base64 | tr -d '+/=\n'; }

random | made cache_secret
random | made redis_password
random | made grafana_password
password=$(cat "$folder/redis_password")
echo "redis://:$password@redis:6379/0" | made redis_url
echo "user default on #$(printf %s "$password" | sha256sum | cut -d' ' -f1) ~* &* +@all -@dangerous +info +config|get" | made redis_users
printf '# Entries of `yolov7-service key NAME`. KEYS_FILE=/run/secrets/keys makes the gateway ask for them.\n' | made keys
echo "Grafana: user admin, password in $folder/grafana_password"
