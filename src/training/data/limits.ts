/** Every maximum that a dataset is held to, in one place. Sizes in bytes. */
export const DATA_LIMITS = {
  /** All files of a dataset on disk. */
  bytes: 1024 ** 3,
  /** All that they unpack to: what is compressed may claim to be anything. */
  expandedBytes: 4 * 1024 ** 3,
  files: 10_000,
  rows: 5_000_000,
  /** Rows below which nothing is learnt, let alone measured. */
  minimumRows: 10,
  columns: 1000,
  cellChars: 1_000_000,
  /** A line of text, or a record of a table. */
  recordBytes: 16 * 1024 * 1024,
  labelChars: 200,
  classes: 1000,
  /** Numbers of a row that is no table's, such as those of an npz file. */
  features: 65_536,
  imageSide: 1024,
  imageChannels: 4,
  /** Labels of an idx or npz file, which are read at once. */
  labelBytes: 256 * 1024 * 1024,
  zipEntries: 1000,
  zipDirectoryBytes: 1024 * 1024,
  npyHeaderBytes: 64 * 1024,
  parquetFooterBytes: 16 * 1024 * 1024,
  /** Of one group of rows, all columns that are read: it is unpacked at once. */
  parquetGroupBytes: 512 * 1024 * 1024,
  /** Of one page, as it claims to be when unpacked. */
  parquetPageBytes: 256 * 1024 * 1024,
} as const
