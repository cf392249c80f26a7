import { createHash } from 'node:crypto';
import type PgBoss from 'pg-boss';
import { ElasticCacheError, reasonOf } from '../errors.js';
import type { Caption } from './captions.js';
import type { Question } from './describe.js';

/** One image that is to be described, as it lies in the queue. */
export interface Task {
  /** Which command asked for it, and its place there. */
  readonly run: string;
  readonly place: number;
  /** A path that every worker can open. */
  readonly image: string;
  readonly question: Question;
}

export type Job = Pick<PgBoss.Job<Task>, 'id' | 'data'>;

/** The schema of PostgreSQL that all of it lies in. */
const SCHEMA = 'elastic_cache';
const JOBS = 'describe';
/** Jobs that were tried too often. */
const DEAD = 'describe-dead';
const TRIES = 3;
/** Jobs of one insertion. */
const BATCH = 1000;

/**
 * Images to describe, and their captions, in a PostgreSQL that many machines share. Each is described at least once, since a worker may die when it is done, and its caption written
 * once: the first stays.
 */
export class PhotoQueue {
  private constructor(private readonly boss: PgBoss) {}

  /**
   * @param address postgres://...
   * @param onError told what goes wrong beside all calls, such as a connection that breaks
   * @throws ElasticCacheError 'invalid-option' when pg-boss is not installed, or the database does not answer
   */
  static async open(address: string, onError: (error: Error) => void): Promise<PhotoQueue> {
    const { default: Boss } = await import('pg-boss').catch((cause: unknown) => {
      throw new ElasticCacheError(
        'invalid-option',
        '--queue needs pg-boss, which is not installed; add it: npm install pg-boss@10.',
        { cause },
      );
    });
    const boss = new Boss({
      connectionString: address,
      schema: SCHEMA,
      schedule: false,
      maintenanceIntervalSeconds: 10,
    });
    boss.on('error', onError);
    try {
      await boss.start();
      await boss.createQueue(DEAD);
      await boss.createQueue(JOBS);
      await boss
        .getDb()
        .executeSql(
          `create table if not exists ${SCHEMA}.captions (run text, place integer, caption json not null, made timestamptz not null default now(), primary key (run, place))`,
          [],
        );
    } catch (cause) {
      await boss.stop({ graceful: false }).catch(() => {});
      throw new ElasticCacheError(
        'invalid-option',
        `The queue cannot be opened (${reasonOf(cause)}); check --queue postgres://user:password@host/database.`,
        { cause },
      );
    }
    return new PhotoQueue(boss);
  }

  /** Puts tasks in; those that are there already stay as they are. @param expireSeconds after which a worker that was given one is taken for dead */
  async add(tasks: readonly Task[], expireSeconds: number): Promise<void> {
    for (let from = 0; from < tasks.length; from += BATCH) {
      const jobs = tasks.slice(from, from + BATCH).map((data) => ({
        id: idOf(data),
        name: JOBS,
        data,
        retryLimit: TRIES - 1,
        expireInSeconds: expireSeconds,
        deadLetter: DEAD,
      }));
      await this.boss.insert(jobs);
    }
  }

  /** Captions of a run from a place on, in their order, without a gap. */
  async captions(run: string, from: number): Promise<Caption[]> {
    const { rows } = await this.boss
      .getDb()
      .executeSql(
        `select place, caption from ${SCHEMA}.captions where run = $1 and place >= $2 order by place limit ${BATCH}`,
        [run, from],
      );
    const found = rows as { place: number; caption: Caption }[];
    const end = found.findIndex(({ place }, index) => place !== from + index);
    return found.slice(0, end < 0 ? found.length : end).map(({ caption }) => caption);
  }

  /** Some jobs to do. */
  take(most: number): Promise<Job[]> {
    return this.boss.fetch<Task>(JOBS, { batchSize: most });
  }

  async done({ id, data }: Job, caption: Caption): Promise<void> {
    await this.#write(data, caption);
    await this.boss.complete(JOBS, id);
  }

  /** Gives a job back: it is tried again, or given up. */
  async failed({ id }: Job, cause: unknown): Promise<void> {
    await this.boss.fail(JOBS, id, { message: reasonOf(cause) });
  }

  /** Takes jobs back from workers that are no more, and writes down those that were tried too often. */
  async tidy(): Promise<void> {
    await this.boss.expire();
    for (const { id, data } of await this.boss.fetch<Task>(DEAD, { batchSize: 100 })) {
      const message = `${data.image} was given up: ${TRIES} workers that were to describe it failed or died.`;
      await this.#write(data, { image: data.image, error: { code: 'fatal-request', message } });
      await this.boss.complete(DEAD, id);
    }
  }

  /** How many jobs are how far. */
  async states(): Promise<{ state: string; count: number }[]> {
    const { rows } = await this.boss
      .getDb()
      .executeSql(
        `select state::text, count(*)::int from ${SCHEMA}.job where name = '${JOBS}' group by 1 order by 1`,
        [],
      );
    return rows;
  }

  async close(): Promise<void> {
    await this.boss.stop({ graceful: false, wait: true });
  }

  async #write({ run, place }: Task, caption: Caption): Promise<void> {
    await this.boss
      .getDb()
      .executeSql(
        `insert into ${SCHEMA}.captions (run, place, caption) values ($1, $2, $3) on conflict do nothing`,
        [run, place, JSON.stringify(caption)],
      );
  }
}

/** The same for the same task, in the form of a UUID: what is put in twice is there once. */
function idOf({ run, place }: Task): string {
  const hash = createHash('sha256').update(`${run} ${place}`).digest('hex');
  return hash.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*/, '$1-$2-$3-$4-$5');
}
