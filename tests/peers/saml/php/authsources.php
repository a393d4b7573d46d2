<?php
// Everybody who may sign in: "name:password" => attributes, each a list.
$config = ['users' => ['exampleauth:UserPass'] + json_decode(file_get_contents(getenv('SSP_STATE')), true)['users']];
