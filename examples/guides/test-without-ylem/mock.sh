terraform test
