"""What happens inside one array element: plan, block loop, publishing, scanning, trial store."""
