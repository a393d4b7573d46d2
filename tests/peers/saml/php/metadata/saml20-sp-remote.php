<?php
// One entity for each application under test, with the variant it asked for.
$metadata = json_decode(file_get_contents(getenv('SSP_STATE')), true)['service_providers'];
