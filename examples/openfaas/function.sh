#!/bin/sh
# A web server that gives every request's body to $run and answers with what it prints.
mkdir -p /www/cgi-bin
printf '#!/bin/sh\nprintf "Content-Type: text/plain\\n\\n"\nhead -c "${CONTENT_LENGTH:-0}" | %s\n' "$run" > /www/cgi-bin/call
chmod +x /www/cgi-bin/call
httpd -f -p 8080 -h /www &
trap 'exit 0' TERM
wait $!
