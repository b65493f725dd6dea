#!/usr/bin/env bash
# Sends an order's mail with curl: send.sh json|untyped|form|multipart SERVICE
set -euo pipefail

post() {
    curl --silent --fail-with-body "$BASE_URL/api/v2/$service" -H "X-DreamFactory-API-Key: $API_KEY" "$@"
}

service=$2

json='{
  "to": [{"name": "Ann Exämple", "email": "ann@example.com"}, {"name": "Bob, Jr.", "email": "bob@example.com"}],
  "cc": "carl@example.com",
  "bcc": "archive@example.com",
  "subject": "Order {order}: 50% & more",
  "body_text": "Grüße, {name}!\n\nTotal: 12 € + shipping\n",
  "body_html": "<p style=\"color:red\">Grüße, <b>{name}</b>!</p>\n<p>{note}</p>\n",
  "from_name": "The Shop",
  "from_email": "shop@example.com",
  "name": "Ann",
  "order": "4711",
  "template_data": {"note": "1 < 2"}
}'

fields() { # with the option of curl that takes a text as it is
    printf '%s\0' \
        "$1" 'to[0][name]=Ann Exämple' "$1" 'to[0][email]=ann@example.com' \
        "$1" 'to[1][name]=Bob, Jr.' "$1" 'to[1][email]=bob@example.com' \
        "$1" 'cc=carl@example.com' "$1" 'bcc=archive@example.com' \
        "$1" 'subject=Order {order}: 50% & more' \
        "$1" $'body_text=Grüße, {name}!\n\nTotal: 12 € + shipping\n' \
        "$1" $'body_html=<p style="color:red">Grüße, <b>{name}</b>!</p>\n<p>{note}</p>\n' \
        "$1" 'from_name=The Shop' "$1" 'from_email=shop@example.com' \
        "$1" 'name=Ann' "$1" 'order=4711' "$1" 'template_data[note]=1 < 2'
}

case $1 in
json) post -H 'Content-Type: application/json' -d "$json" ;;
untyped) post -d "$json" ;;
form)
    mapfile -d '' -t options < <(fields --data-urlencode)
    post "${options[@]}"
    ;;
multipart)
    mapfile -d '' -t options < <(fields --form-string)
    post "${options[@]}" -F 'file=@Rechnung März.pdf' -F 'attachment=@terms.txt'
    ;;
esac
