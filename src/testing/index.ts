/** What the tests of functions import, as `rfaas/testing`. */
export { testWorker } from "./test-worker.ts";
export type { TestLine, TestProgress, TestWorker, TestWorkerOptions } from "./test-worker.ts";
