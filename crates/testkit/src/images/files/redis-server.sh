#!/bin/sh
# In a container the network is the fence: without protected mode, as in the official image, unless it was asked for.
case " $* " in *" --protected-mode "*) exec /usr/bin/redis-server "$@" ;; esac
if [ -f "$1" ] && grep -q '^protected-mode' "$1"; then exec /usr/bin/redis-server "$@"; fi
exec /usr/bin/redis-server "$@" --protected-mode no
