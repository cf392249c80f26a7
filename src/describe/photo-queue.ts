import { type Job as JobOf, JobQueue, type Task as TaskOf } from '../queue/job-queue.js';
import type { Caption } from './captions.js';
import type { Question } from './describe.js';

/** One image that is to be described, as it lies in the queue. */
export interface Task extends TaskOf {
  /** A path that every worker can open. */
  readonly image: string;
  readonly question: Question;
}

export type Job = JobOf<Task>;
export type PhotoQueue = JobQueue<Task, Caption>;

/** Images to describe, and their captions. @throws as {@link JobQueue.open} */
export function openPhotoQueue(address: string, onError: (error: Error) => void): Promise<PhotoQueue> {
  return JobQueue.open<Task, Caption>(address, { jobs: 'describe', table: 'captions' }, onError);
}

/** What is told of an image that was tried too often. */
export function givenUp({ image }: Task, reason: string): Caption {
  return { image, error: { code: 'fatal-request', message: `${image} ${reason}.` } };
}
