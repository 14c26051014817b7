#!/bin/sh
# Mounts the shared drive on a machine of the pool and links a person's part of it into their home.
#   mount-drive.sh STORAGE_ACCOUNT KEY SHARE MOUNT_POINT USER
set -eu
account=$1 key=$2 share=$3 dir=$4 user=$5

mkdir -p "$dir"
mount -t cifs "//$account.file.core.windows.net/$share" "$dir" -o "vers=3.0,username=$account,password=$key,dir_mode=0755,file_mode=0664"
ln -sfn "$dir" "/home/$user/$(basename "$dir")"
ln -sfn "$dir/notebooks/$user" "/home/$user/notebooks/remote"
