// The picture of the U-Net's 25 blocks; it and kohya's text fields write into each other.

function paintUnet() {}
