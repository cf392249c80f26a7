import type { Page } from 'playwright-core';

/** Asks the playground, and waits for both answers. @param send presses what sends */
export async function ask(page: Page, question: string, send: () => Promise<void>): Promise<void> {
  const turns = page.locator('.turn');
  const before = await turns.count();
  await page.fill('#prompt', question);
  await send();
  // Both answers have begun; a short one is over before anybody could look.
  await turns.nth(before + 1).waitFor();
  await page.waitForSelector('#send:not([disabled])', { timeout: 60_000 });
}
