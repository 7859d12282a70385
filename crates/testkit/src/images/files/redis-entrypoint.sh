#!/bin/sh
# Gives the data directory to the user redis and becomes that user, when started as root to run redis-server.
set -e
case "$1" in
-* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
	chown -R redis:redis .
	exec su -s /bin/sh redis -c 'exec "$@"' redis-entrypoint "$@"
fi
exec "$@"
