"""File name endings, for the whole library: what is read as an image, an archive, a video or a table."""

IMAGES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
ARRAYS, TABLES, TEXTS = ".npz", ".csv", ".txt"

# Formats of written images by ending, in Pillow's names; those of OPAQUE have no alpha channel.
WRITTEN = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip
OPAQUE = (".jpg", ".jpeg", ".bmp")
