from poutine.laws.ask import Ask
