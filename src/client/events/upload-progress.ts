/** How far an upload has come. */
export interface UploadProgress {
  /** Written by the node. */
  sentBytes: number;
  /** What the node lacked: 0 when it had everything. */
  totalBytes: number;
}
