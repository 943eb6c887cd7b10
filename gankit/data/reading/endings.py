"""File name endings, for the whole library: what is read as an image, an archive, a video or a table."""

NEWER = {"AVIF": (".avif",), "HEIF": (".heic", ".heif", ".hif")}  # by Pillow's format, where it has a reader
IMAGES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
    *(".pgm", ".ppm", ".pnm", ".pbm"),
    *(ending for endings in NEWER.values() for ending in endings),
)
VOLUMES = (".nii", ".nii.gz", ".dcm", ".dicom")  # of slices, where a package reads them
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
SHARDS = (".parquet", ".arrow")  # of rows, in which images are files among the values
ARRAYS, TABLES, TEXTS = ".npz", (".csv", ".tsv"), ".txt"
OPAQUE = (".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".pnm", ".pbm")  # formats without an alpha channel
