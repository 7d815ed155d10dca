/** The progress of an upload. */
export interface UploadProgress {
  /** Written by the node. */
  sentBytes: number;
  /** What the node lacked: 0 when it had everything. */
  totalBytes: number;
}
