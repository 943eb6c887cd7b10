"""File name endings, for the whole library: what is read as an image, an archive, a video or a table."""

IMAGES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif",
    ".pgm", ".ppm", ".pnm", ".pbm",
)  # fmt: skip
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
ARRAYS, TABLES, TEXTS = ".npz", (".csv", ".tsv"), ".txt"
OPAQUE = (".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".pnm", ".pbm")  # formats without an alpha channel
