/** What the tests of functions import, as `rfaas/testing`. */
export { testWorker } from "./test-worker.ts";
export type { TestCallOptions, TestWorkerOptions } from "./test-options.ts";
export type { TestLine, TestProgress, TestWorker } from "./test-worker.ts";
