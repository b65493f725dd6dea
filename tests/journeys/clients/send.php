<?php
// Sends an order's mail with PHP's curl: send.php json|untyped|form|multipart SERVICE

$mail = [
    'to' => [
        ['name' => 'Ann Exämple', 'email' => 'ann@example.com'],
        ['name' => 'Bob, Jr.', 'email' => 'bob@example.com'],
    ],
    'cc' => 'carl@example.com',
    'bcc' => 'archive@example.com',
    'subject' => 'Order {order}: 50% & more',
    'body_text' => "Grüße, {name}!\n\nTotal: 12 € + shipping\n",
    'body_html' => "<p style=\"color:red\">Grüße, <b>{name}</b>!</p>\n<p>{note}</p>\n",
    'from_name' => 'The Shop',
    'from_email' => 'shop@example.com',
    'name' => 'Ann',
    'order' => '4711',
    'template_data' => ['note' => '1 < 2'],
];

[, $form, $service] = $argv;
$headers = ['X-DreamFactory-API-Key: ' . getenv('API_KEY')];

switch ($form) {
    case 'json':
        $headers[] = 'Content-Type: application/json';
        $body = json_encode($mail);
        break;
    case 'untyped':
        $body = json_encode($mail);
        break;
    case 'form':
        $body = http_build_query($mail);
        break;
    case 'multipart': // an array is sent as multipart/form-data, and may not hold arrays
        $body = array_filter($mail, 'is_string');
        foreach ($mail['to'] as $index => $to) {
            $body["to[$index][name]"] = $to['name'];
            $body["to[$index][email]"] = $to['email'];
        }
        $body['template_data[note]'] = $mail['template_data']['note'];
        $body['file'] = new CURLFile('Rechnung März.pdf', 'application/pdf', 'Rechnung März.pdf');
        $body['attachment'] = new CURLFile('terms.txt');
        break;
}

$curl = curl_init(getenv('BASE_URL') . "/api/v2/$service");
curl_setopt_array($curl, [
    CURLOPT_POST => true,
    CURLOPT_HTTPHEADER => $headers,
    CURLOPT_POSTFIELDS => $body,
    CURLOPT_RETURNTRANSFER => true,
]);
$answer = curl_exec($curl);
if ($answer === false || curl_getinfo($curl, CURLINFO_RESPONSE_CODE) >= 400) {
    fwrite(STDERR, $answer === false ? curl_error($curl) : $answer);
    exit(1);
}
echo $answer;
